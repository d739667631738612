"""torchvision's Faster R-CNN with a feature pyramid: its weights in, a graph of fixed shapes out.

Its own export has shapes that depend on the frame. This one has the same layers, but a fixed number
of proposals, and its non-maximum suppression is the contract's recurrence: a slot that was
suppressed stays, and scores 0.
"""
