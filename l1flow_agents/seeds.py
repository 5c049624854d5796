"""First seeds of what must not share any; each has all seeds up to the next."""

COLLECTION_SEED = 10_000  # of experts' episodes
GENERATION_SEED = 20_000  # of generated ones
VALIDATION_SEED = 50_000  # settings are chosen on these
TEST_SEED = 1_000_000  # of the published protocols; 100000 and up were used for choosing, too, and are spent
