"""The benchmarks, PeRL's eight and two more: one file each turns its rows into items."""

from perl_rl.eval.benchmarks import (
    blink,
    mantis,
    mathverse,
    mathvision,
    mathvista,
    mirb,
    mmiu,
    muirbench,
    mv_math,
    remi,
)
from perl_rl.eval.items import Benchmark

BENCHMARKS: dict[str, Benchmark] = {
    module.BENCHMARK.name: module.BENCHMARK
    for module in (
        *(mantis, blink, mmiu, remi, mv_math, mathvista, mathverse, mathvision),
        *(muirbench, mirb),
    )
}
