"""Neural networks: Seamless (recurrent), pconv3d (partial convolutions) and CASM (dense), and their layers.

May import what `models` may. Add a network as one file that subclasses `base.Network`, which has the loss, the
optimizer and the learning-rate schedule.
"""
