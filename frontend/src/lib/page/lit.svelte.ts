// Which tokens of a feature's examples are lit, since a reader points at a part of its rule.
import type { Lit, RuleHolds } from '../records/rules';

/** A clause of a rule, or one of its leaves. */
export interface Part {
  clause: number;
  leaf?: number;
}

export class Lighting {
  /** What is pointed at, or else what was last clicked. */
  private pointed = $state.raw<Part | undefined>();
  private pinned = $state.raw<Part | undefined>();
  private holds = $state.raw<RuleHolds | undefined>();
  problem = $state('');
  private asked = false;

  constructor(private ask: () => Promise<RuleHolds>) {}

  readonly part = $derived(this.pointed ?? this.pinned);
  readonly lit: Lit | undefined = $derived.by(() => {
    if (!this.part || !this.holds) return undefined;
    const clause = this.holds.clauses[this.part.clause];
    return this.part.leaf === undefined ? clause?.decides : clause?.leaves[this.part.leaf];
  });
  readonly total = $derived((this.lit?.surely ?? []).flat().reduce((n, at) => n + at.length, 0));

  readonly isOpen = $derived((this.lit?.perhaps ?? []).some((group) => group.some((at) => at.length)));

  /** Have what holds where at hand. */
  prepare = (): void => {
    if (this.asked) return;
    this.asked = true;
    this.ask().then(
      (holds) => (this.holds = holds),
      (error) => ((this.problem = String(error.message ?? error)), (this.asked = false)),
    );
  };
  point = (part: Part | undefined): void => {
    if (part) this.prepare();
    this.pointed = part;
  };
  pin = (part: Part): void => {
    this.prepare();
    this.pinned = same(this.pinned, part) ? undefined : part;
    if (!this.pinned) this.pointed = undefined;
  };
  is = (part: Part): boolean => same(this.part, part);
  isPinned = (part: Part): boolean => same(this.pinned, part);
}

const same = (a: Part | undefined, b: Part): boolean => a?.clause === b.clause && a?.leaf === b.leaf;
