"""All claims by the type that a file gives them."""

from .claims import AbstractClaim, Holds, Iterations, MeanIterations, Quantile, Success
from .ends import Ends

KINDS: dict[str, type[AbstractClaim]] = {
    claim.kind: claim for claim in (Success, Holds, Quantile, Iterations, MeanIterations, Ends)
}
