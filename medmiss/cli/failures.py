"""Which failures of a bundle's run are the user's to mend: said in a sentence, without a traceback."""


def explained(error: Exception) -> Exception | None:
    """The error in the chain of `error` whose text explains the failure; None for what is a bug.

    MONAI wraps what a part of a configuration raises, often several times.
    """
    from medmiss.cases.errors import CaseError, cause_of
    from medmiss.inference.bundle import BundleError
    from medmiss.inference.evaluator import CasesFailed

    return cause_of(error, (BundleError, CaseError, CasesFailed, OSError, FloatingPointError, ValueError))
