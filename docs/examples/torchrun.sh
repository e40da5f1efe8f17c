#!/bin/bash
set -euo pipefail

# to try it: two processes on the CPU, half a minute, no data needed
torchrun --standalone --nproc-per-node 2 train.py model=pconv3d data.days=120 model.channels=8 model.layers=1 \
    model.window_days=32 model.core_cells=12 trainer.max_epochs=1 trainer.accelerator=cpu trainer.devices=2

# the four GPUs of one machine
torchrun --standalone --nproc-per-node 4 train.py model=seamless data=netcdf data.path=cube.zarr data.target=sm \
    trainer=gpu trainer.devices=4 name=seamless
torchrun --standalone --nproc-per-node 4 predict.py run=runs/seamless output=filled.zarr trainer=gpu trainer.devices=4

# two machines: the same line on both, HEAD is the name of one of them
torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint "$HEAD:29500" --rdzv-id sgdsm \
    train.py model=seamless data=netcdf data.path=cube.zarr data.target=sm \
    trainer=gpu trainer.devices=4 trainer.num_nodes=2 name=both
