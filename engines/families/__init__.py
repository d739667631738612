"""One file per model family: how its graph is recognised and brought to the contract."""
