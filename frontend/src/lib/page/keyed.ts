// Rows with a key of their own each, for `{#each}`. Records come from files that anybody may have written: two of one name
// would otherwise blank the whole page.
export function keyed<T>(rows: ArrayLike<T>, key: (row: T) => unknown): [string, T][] {
  const seen = new Map<string, number>();
  return Array.from(rows, (row) => {
    const name = String(key(row));
    const n = seen.get(name) ?? 0;
    seen.set(name, n + 1);
    return [n ? `${name} ${n}` : name, row];
  });
}
