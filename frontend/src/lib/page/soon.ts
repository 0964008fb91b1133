// What is asked again in a while, and only while the page is seen.

/** Calls `look` after `ms`, and `again` instead where nobody sees the page or it fails. Returns what stops it. */
export function soon(look: () => Promise<unknown>, again: () => void, ms: number): () => void {
  let over = false;
  const timer = setTimeout(async () => {
    try {
      if (!document.hidden) return void (await look());
    } catch {
      // the server may be back later
    }
    if (!over) again();
  }, ms);
  return () => ((over = true), clearTimeout(timer));
}
