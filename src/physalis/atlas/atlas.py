"""Atlas: everything stored about a dictionary's features, read from one SQLite file. No torch.

An Atlas can be shared by threads. What it answers is of one file at a time: where its folder was moved away, built
again, copied over or cut short, it says so until a whole atlas of the same dictionary stands there, which is then taken
up (see ``watch``).
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from physalis import artifact
from physalis.atlas.annex import NONE, Annex
from physalis.atlas.feature_pages import Shown
from physalis.atlas.reader import SORTS as SORTS
from physalis.atlas.reader import AtlasReader, Bounds
from physalis.atlas.records import Feature, FeatureList, FeatureRow, Map, Summary
from physalis.atlas.reopening import Standing, Watch
from physalis.corpora.characters import Piece
from physalis.display import tables
from physalis.display.reprs import Displayed
from physalis.errors import BadInput

T = TypeVar("T")


class Atlas(Displayed):
    """A finished atlas. ``atlas[12]`` is feature 12; ``len(atlas)`` counts features, dead ones too.

    Whatever reads the file raises Unavailable where it is gone, was changed, or is damaged at that place.
    """

    def __init__(self, folder: Path, standing: Standing) -> None:
        """Use ``Atlas.open``."""
        self.folder = folder
        self._watch = Watch(folder, standing)
        self._annex: Callable[[], Annex] = lambda: NONE

    @classmethod
    def open(cls, folder: Path | str) -> "Atlas":
        """Open a folder that ``build_atlas`` finished. Raises BadInput if it is none, unfinished, damaged or newer."""
        folder = Path(folder)
        return cls(folder, Standing.read(folder))

    def with_annex(self, annex: Callable[[], Annex]) -> "Atlas":
        """The same atlas, told with what is known of its features besides: ``annex`` gives that as it is now."""
        made = copy.copy(self)
        made._annex = annex
        return made

    def __repr__(self) -> str:
        return f"Atlas({str(self.folder)!r}, {len(self):,} features at {self.manifest.config.get('site', 'a site')})"

    def __len__(self) -> int:
        return self._watch.standing.n_features

    @property
    def manifest(self) -> artifact.Manifest:
        return self._watch.standing.manifest

    def __getitem__(self, id: int) -> Feature:
        """Everything about one feature. Raises BadInput if there is none with that id."""
        return self._ask(lambda opened: opened.feature(id, self._annex()))

    def rows(self, ids: Sequence[int]) -> Sequence[FeatureRow]:
        """The list rows of some features, in the order asked for. Raises BadInput if one does not exist."""
        return self._ask(lambda opened: opened.rows(ids, self._annex()))

    def list(
        self,
        *,
        query: str = "",
        sort: str | None = None,
        descending: bool = True,
        filters: Mapping[str, Bounds] = {},
        offset: int = 0,
        limit: int = 50,
    ) -> FeatureList:
        """One page of the features that match.

        ``query`` holds words of which a feature must have every one, in its headline, tokens, promoted tokens or
        examples; the last may be unfinished. A minus right before a word leaves out the features that have it:
        ``import -python``. A number is also an id, finished or not; ``#12`` is only the id.
        ``sort`` is an entry of ``SORTS``, or "rule_f1" or "rule_size" where there are rules (``with_annex``). If none
        is given, a search comes best match first and a list by density.
        ``filters`` gives (low, high), both inclusive and either of them None, for any metric, place or id.
        Raises BadInput for a sort or filter that does not exist.
        """
        return self._ask(
            lambda opened: opened.listed(
                query=query,
                sort=sort,
                descending=descending,
                filters=filters,
                offset=offset,
                limit=limit,
                annex=self._annex(),
            )
        )

    def table(self) -> Any:
        """A pandas DataFrame with a row a feature, dead ones too, named by its id: its headline, what lists sort by and
        its place on the map. ``atlas.regions[i]`` names region i. Raises BadInput without pandas."""
        return tables.columns(self._ask(lambda opened: opened.columns(self._annex())), index="id")

    def shown(self, id: int) -> Shown:
        """The examples of a feature as token ids. Raises BadInput if there is no feature with that id."""
        return self._ask(lambda opened: opened.shown(id))

    def pieces(self) -> Sequence[Piece]:
        """The text of each token id, or its bytes where it is a part of a character; empty for those that no page
        mentions."""
        return self._ask(lambda opened: opened.pieces())

    def map(self) -> Map:
        """Every living feature's place, and the regions' names."""
        return self._ask(lambda opened: opened.map(self._annex()))

    def summary(self) -> Summary:
        """The dictionary as a whole."""
        return self._ask(lambda opened: opened.summary)

    @property
    def extra(self) -> Mapping[str, np.ndarray]:
        """What lists sort and filter by besides ``SORTS``, a number a feature: see ``annex``."""
        return self._annex().columns

    @property
    def texts(self) -> Mapping[int, Sequence[str]]:
        """What is said of features, to be searched by meaning: see ``annex``."""
        return self._annex().texts

    @property
    def regions(self) -> Sequence[str]:
        """Names of the map's regions."""
        return self._ask(lambda opened: opened.regions)

    def random(self) -> int:
        """The id of a living feature, any of them (of all, where none lives)."""
        return self._ask(lambda opened: opened.random())

    def beside(self, id: int) -> tuple[int, int]:
        """The ids before and after this one, round the ends. Raises BadInput if there is no feature with that id."""
        n = len(self)
        if not 0 <= id < n:
            raise BadInput(f"There is no feature {id}: this atlas has {n:,}, from 0 to {n - 1}.")
        return (id - 1) % n, (id + 1) % n

    def kept(self, make: Callable[[], T]) -> Callable[[], T]:
        """What ``make`` makes of this atlas, made when it is first asked for and again when another file was taken
        up, or its annex changed."""
        return _Kept(self._watch, self._annex, make)

    def read_ahead(self) -> None:
        """Have the system read the whole file into its memory, so that no page waits for the disk. Returns at once."""
        self._watch.read_ahead()

    def _ask(self, question: Callable[[AtlasReader], T]) -> T:
        return self._watch.ask(question)


class _Kept(Generic[T]):
    """See ``Atlas.kept``."""

    def __init__(self, watch: Watch, annex: Callable[[], Annex], make: Callable[[], T]) -> None:
        self._watch, self._annex, self._make = watch, annex, make
        self._made: tuple[AtlasReader, Annex, T] | None = None

    def __call__(self) -> T:
        now, annex, made = self._watch.ask(lambda opened: opened), self._annex(), self._made
        if made is None or made[0] is not now or made[1] is not annex:
            made = self._made = (now, annex, self._make())
        return made[2]
