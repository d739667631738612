"""Cameras: a source URI in, the freshest frame out; one supervised thread each."""
