"""Hand-written CPU code, each beside the plain formula that is its reference and carries its second derivative.

A kernel stands here because torch's own was slower when it was written (torch 2.13, AMD EPYC; ``benchmarks.operations``
times them again): sampling against ``grid_sample`` of volumes, small flows against those planes, the box sums of LNCC
and MIND against box convolutions, doubling against ``interpolate``, the depthwise convolution against ``conv3d``. One
that no longer wins can be deleted: its plain formula takes its place.
"""
