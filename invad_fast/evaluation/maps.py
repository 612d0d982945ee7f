"""records ─> maps: the one way in which images are scored, whatever wants the scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from invad_fast.data import ImageLoader, ImageTensors, Record, build_cache
from invad_fast.data.preparation import preparation_of
from invad_fast.data.tensors import ImageBatch, Unreadable, find_unreadable, unreadable_error
from invad_fast.distributed import ALONE, World
from invad_fast.evaluation.options import ScoringOptions
from invad_fast.prediction import Prediction, Predictor, ScoreRule
from invad_fast.progress import counter, track


def inference_form(model: Any, options: ScoringOptions, device: str | None = None) -> Predictor:
    """The form of the model that the options ask for; another Predictor is taken as it is.

    Raises:
        InputError: where there is no such form.
    """
    make = getattr(model, "for_inference", None)
    return model if make is None else make(options.precision, device or options.device)


@dataclass
class Maps:
    """Makes the maps of records with one predictor, this process's share of them.

    Attributes:
        unreadable: the images that could not be read, in all that was scored so far.
    """

    predictor: Predictor
    options: ScoringOptions
    world: World = ALONE
    show: bool = False
    unreadable: list[Unreadable] = field(default_factory=list)

    @property
    def rule(self) -> ScoreRule:
        """By which the scores are made."""
        return self.options.rule(self.predictor.score_rule)

    def batches(
        self, records: Sequence[Record], what: str, with_masks: bool = False
    ) -> Iterator[tuple[ImageBatch, Prediction]]:
        """Batches of readable images with their predictions until this share is through.

        What cannot be read is left out and noted; `settle` says what becomes of it.
        """
        size, options = self.predictor.input_size, self.options
        preparation = preparation_of(self.predictor)
        kept = None
        if options.cache is not None:
            with counter(f"{what}: decode", self.show) as progress:
                bound = int(options.cache_gib * 2**30)
                kept = build_cache(
                    records, size, options.cache, bound, progress, world=self.world,
                    levels=self.rule.levels, damaged="collect",
                    interpolation=preparation.interpolation,
                )  # fmt: skip
        own = list(self.world.own(range(len(records))))
        order = [own[i : i + options.batch_size] for i in range(0, len(own), options.batch_size)]
        images = ImageTensors(
            records, size, kept, with_masks=with_masks, levels=self.rule.levels,
            preparation=preparation,
        )  # fmt: skip
        loader = ImageLoader(images, order, options.workers, "collect")
        for batch in track(loader, len(order), what, self.show):
            if batch.indices:
                yield batch, self.of(batch.images, [records[i].class_name for i in batch.indices])
        self.unreadable += loader.unreadable

    def of(self, images: Any, class_names: Sequence[str]) -> Prediction:
        """The predictor's of N images, of products that it may not know by these names."""
        known = self.predictor.classes
        names = [name if name in known else None for name in class_names]
        return self.predictor.predict(images, names, **self.options.changes())

    def settle(self, scored: Sequence[Record], rest: Sequence[Record] = ()) -> None:
        """Called by every process when ``scored`` are through.

        Args:
            rest: what is still to be scored.

        Raises:
            InputError: where images could not be read and the options do not skip them: one line
                that lists all of them, those of ``rest`` included.
        """
        parts = self.world.gather([(bad.path, bad.line) for bad in self.unreadable])
        bad = sorted({pair for part in parts for pair in part})
        if not bad or self.options.skip_damaged:
            return
        others = ImageTensors(rest, self.predictor.input_size, levels=self.rule.levels)
        more = self.world.on_main(lambda: find_unreadable(others, self.options.workers))
        found = [Unreadable(0, path, line) for path, line in bad] + more
        raise unreadable_error(found, len(scored) + len(rest))
