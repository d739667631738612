"""What the budget asks for is searched: the layers that stay float, the ranges of the others."""
