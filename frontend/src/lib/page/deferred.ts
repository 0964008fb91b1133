// What is not seen first is drawn after what is, in order, a paint between one and the next.

const waiting: (() => void)[] = [];
let done: Promise<void> | undefined;

/** Until the browser has painted. In a tab that is not looked at, until it is. */
const painted = () => new Promise<void>((go) => requestAnimationFrame(() => setTimeout(go)));

/** Until the first paint is on the screen, which comes sooner when nothing is done meanwhile. Some hosts never tell. */
const seen = new Promise<void>((go) => {
  setTimeout(go, 3000);
  new PerformanceObserver((list) => list.getEntriesByName('first-contentful-paint').length && go()).observe({ type: 'paint', buffered: true });
});

async function work(): Promise<void> {
  await painted();
  await seen;
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
