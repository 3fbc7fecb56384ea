"""The merge methods by name, ours and plugins'."""

from copamerge.methods._base import MergeMethod
from copamerge.methods.breadcrumbs import Breadcrumbs
from copamerge.methods.copa import Copa
from copamerge.methods.dare import Dare
from copamerge.methods.dc_merge import DcMerge
from copamerge.methods.della import Della
from copamerge.methods.emr import Emr
from copamerge.methods.factor_linear import FactorLinear
from copamerge.methods.factor_sum import FactorSum
from copamerge.methods.iso_c import IsoC
from copamerge.methods.iso_cts import IsoCts
from copamerge.methods.lego import Lego
from copamerge.methods.mean import Mean
from copamerge.methods.pcb import Pcb
from copamerge.methods.robustmerge import RobustMerge
from copamerge.methods.sce import Sce
from copamerge.methods.svd import Svd
from copamerge.methods.task_arithmetic import TaskArithmetic
from copamerge.methods.ties import Ties
from copamerge.methods.tsv_m import TsvM
from copamerge.methods.wudi import Wudi
from copamerge.registry import Registry

METHODS: Registry[MergeMethod] = Registry(
    "merge method",
    base=MergeMethod,
    group="copamerge.methods",
    # In reading order: the paper, its released code, sums, element-wise rules, spectral ones in
    # core space, what is cut to a rank, sums of factors.
    builtin=[
        Copa,
        RobustMerge,
        TaskArithmetic,
        Mean,
        Ties,
        Dare,
        Della,
        Breadcrumbs,
        Sce,
        Pcb,
        Emr,
        TsvM,
        IsoC,
        IsoCts,
        Wudi,
        DcMerge,
        Svd,
        Lego,
        FactorLinear,
        FactorSum,
    ],
)
