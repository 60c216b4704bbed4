"""The named estimators of a meta-gradient. Standard library only."""

from ..core.entry import Entry, table

ESTIMATORS = table(
    Entry("bptt", "gradient through a window of inner steps", ".estimators.bptt:BPTT"),
    Entry("es", "finite differences of whole windows, both signs", ".estimators.es:ES"),
    Entry("pes", "the same without the bias of short windows", ".estimators.es:PES"),
    Entry("whole", "gradient through whole episodes, fresh each time", ".estimators.whole:Whole"),
)
