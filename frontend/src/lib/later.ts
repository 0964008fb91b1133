// What is not seen first is drawn after what is, in order, a paint between one and the next.

const waiting: (() => void)[] = [];
let done: Promise<void> | undefined;

/** Until the browser has painted. In a tab that is not looked at, until it is. */
const painted = () => new Promise<void>((go) => requestAnimationFrame(() => setTimeout(go)));

async function work(): Promise<void> {
  await painted();
  for (let draw = waiting.shift(); draw; draw = waiting.shift()) {
    draw();
    await painted();
  }
  done = undefined;
}

/** Draws when it is its turn; the answer takes that back. */
export function later(draw: () => void): () => void {
  waiting.push(draw);
  done ??= work();
  return () => {
    const at = waiting.indexOf(draw);
    if (at >= 0) waiting.splice(at, 1);
  };
}

/** When all that waits now is drawn. */
export const drawn = (): Promise<void> => done ?? Promise.resolve();
