// Changes that a reader makes to what a server keeps: one at a time, and what went wrong with the last.
import { sentence } from '../records/notes';

export class Changing {
  busy = $state(false);
  /** Why the last one was refused; '' where it was not. */
  problem = $state('');
  #hear: () => Promise<unknown>;

  /** `hear` asks what holds now, and shows it. */
  constructor(hear: () => Promise<unknown> = async () => undefined) {
    this.#hear = hear;
  }

  /** Does it, then shows what holds now, also after a refusal: it may be that something changed. What was typed stays until it is `kept`. */
  change = async (act: () => Promise<unknown>, kept?: () => void): Promise<void> => {
    if (this.busy) return;
    [this.busy, this.problem] = [true, ''];
    try {
      await act();
      kept?.();
    } catch (error) {
      this.problem = sentence(error);
    }
    try {
      await this.#hear();
    } catch (error) {
      this.problem ||= sentence(error);
    }
    this.busy = false;
  };
}
