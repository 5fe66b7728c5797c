"""What can go wrong, as one tree; each message says what was asked, what was found, what to do.

- SlidemaskError
    - SlideError                  a slide cannot be opened or read
        - ResolutionUnknownError  a slide carries no believable pixel size
    - AnnotationError             an annotation file cannot be understood
        - UnknownClassError       an annotation's class is not in the class map
    - CohortError                 a cohort manifest is wrong
        - LeakError               one patient, or one file, on both sides of a split
    - SettingsError               a recipe or an option holds an impossible value
    - GridError                   a tile grid cannot be laid with these numbers
    - TrainingError               a training cannot go on
    - BundleError                 a model bundle is incomplete or of another format
    - OutputError                 a result cannot be written, or would overwrite another
"""


class SlidemaskError(Exception):
    """Base of every error that this package raises on purpose."""


class SlideError(SlidemaskError):
    """A slide cannot be opened or read."""


class ResolutionUnknownError(SlideError):
    """A slide carries no believable pixel size and a recipe asks for one."""


class AnnotationError(SlidemaskError):
    """An annotation file cannot be understood."""


class UnknownClassError(AnnotationError):
    """An annotation's class is not in the class map."""


class CohortError(SlidemaskError):
    """A cohort manifest is wrong."""


class LeakError(CohortError):
    """One patient, or one file content, stands on both sides of a split."""


class SettingsError(SlidemaskError, ValueError):
    """A recipe or an option holds an unknown name or an impossible value."""


class GridError(SettingsError):
    """A tile grid cannot be laid with these numbers."""


class TrainingError(SlidemaskError):
    """A training cannot go on."""


class BundleError(SlidemaskError):
    """A model bundle is incomplete, damaged or of another format."""


class OutputError(SlidemaskError):
    """A result cannot be written, or would overwrite another."""
