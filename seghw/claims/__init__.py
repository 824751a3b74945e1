"""Every sentence that the report asserts, with the measurement that it stands or falls by."""

from seghw.claims.claims import CLAIMS, check_claims
from seghw.claims.kept import all_results
from seghw.claims.sam import sam_effects
from seghw.claims.table import claims_table

__all__ = ["CLAIMS", "all_results", "check_claims", "claims_table", "sam_effects"]
