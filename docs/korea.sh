#!/usr/bin/env bash
# What docs/pictures.py draws of Korea, from the root of the repository.
set -euo pipefail
coarse=sample_data/east_asia_coarse.nc
dpdm assimilate sample_data/korea_stations.csv build/korea.nc --coarse "$coarse" --members 10 \
    --bbox 124,131,32,40 --withhold 0.2 --report build/korea.csv --overwrite \
    --coarse-error t2m=1.5 --coarse-error tp=0.5 --coarse-length 200
dpdm downscale "$coarse" build/korea_prior.nc --members 10 --bbox 124,131,32,40 --overwrite
