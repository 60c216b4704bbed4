"""The flat names of steppe; see core/lazy.py."""

from . import certificates as certificates
from . import data as data
from . import evaluation as evaluation
from . import interop as interop
from . import tasks as tasks
from . import zoo as zoo
from .certificates.certify import certify as certify
from .core.episode import begin as begin
from .core.episode import unroll as unroll
from .core.estimator import AbstractEstimator as AbstractEstimator
from .core.measure import AbstractMeasure as AbstractMeasure
from .core.objective import AbstractObjective as AbstractObjective
from .core.optimizer import AbstractOptimizer as AbstractOptimizer
from .core.optimizer import Fixed as Fixed
from .core.task import AbstractFormula as AbstractFormula
from .core.task import AbstractTask as AbstractTask
from .estimators.bptt import BPTT as BPTT
from .estimators.es import ES as ES
from .estimators.es import PES as PES
from .estimators.imitation import Imitation as Imitation
from .estimators.mix import Mix as Mix
from .estimators.mix import Part as Part
from .evaluation.run import evaluate as evaluate
from .evaluation.run import tune as tune
from .interop.optax import to_optax as to_optax
from .objectives.trajectory import Trajectory as Trajectory
from .optimizers.classic.from_optax import FromOptax as FromOptax
from .optimizers.learned.dm import DM as DM
from .optimizers.learned.rnnprop import RNNProp as RNNProp
from .optimizers.learned.scale import Scale as Scale
from .tasks.classify import Classify as Classify
from .tasks.synthetic.quadratic import Quadratic as Quadratic
from .train.curriculum import Curriculum as Curriculum
from .train.loop import meta_train as meta_train
from .train.step import meta_step as meta_step
from .train.step import separate_states as separate_states
from .train.validate import Validation as Validation
from .zoo.assemble import assemble as assemble
from .zoo.io import card as card
from .zoo.io import load as load
from .zoo.io import manifest as manifest
from .zoo.io import save as save
from .zoo.presets import recipe as recipe
from .zoo.registry import register as register

__version__: str
