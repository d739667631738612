"""The daemon: threads, signals, health, systemd."""
