"""What a person runs beside the daemon: watch, verify, bench, doctor, demo."""
