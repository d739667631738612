"""A procedural warehouse: racks, goods, people and light, drawn with their exact ground truth."""
