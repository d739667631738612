"""The built-in shelf detectors: networks, training on the shelf world, weights."""
