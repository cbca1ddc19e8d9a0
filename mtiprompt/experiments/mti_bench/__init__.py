"""MTI Bench (Son et al., ACL 2024, arXiv 2402.11597), run again with its known flaws handled."""

from mtiprompt.experiments.mti_bench.bench import Bench as Bench
from mtiprompt.experiments.mti_bench.bench import Instance as Instance
from mtiprompt.experiments.mti_bench.bench import load as load
from mtiprompt.experiments.mti_bench.findings import Findings as Findings
from mtiprompt.experiments.mti_bench.run import ARMS as ARMS
from mtiprompt.experiments.mti_bench.run import FORMATS as FORMATS
from mtiprompt.experiments.mti_bench.run import run as run
