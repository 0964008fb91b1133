// Keys that work everywhere outside fields.

export interface Acts {
  search: () => void;
  step: (by: 1 | -1, arrow: boolean) => boolean;
  go: (path: string) => void;
  help: () => void;
  theme: () => void;
}

const PLACES: Record<string, string> = { s: '/', l: '/features', m: '/map' };

/** Listen until the returned function is called. */
export function listen(acts: Acts): () => void {
  let waiting = false;

  function key(event: KeyboardEvent) {
    if (event.defaultPrevented || event.metaKey || event.ctrlKey || event.altKey) return;
    const target = event.target as HTMLElement;
    if (target.closest('dialog')) return;
    if (target.closest('input:not([type=checkbox]), select, textarea')) {
      if (event.key === 'Escape') target.blur();
      return;
    }
    const after = waiting;
    waiting = false;
    if (after && event.key in PLACES) acts.go(PLACES[event.key]);
    else if (event.key === 'g') waiting = true;
    else if (event.key === '/') acts.search();
    else if (event.key === '?') acts.help();
    else if (event.key === 't') acts.theme();
    else if (event.key === 'r') acts.go('/features/random');
    else if (['j', 'k', 'ArrowRight', 'ArrowLeft'].includes(event.key)) {
      const by = event.key === 'j' || event.key === 'ArrowRight' ? 1 : -1;
      if (!acts.step(by, event.key.startsWith('Arrow'))) return;
    } else return;
    event.preventDefault();
  }
  addEventListener('keydown', key);
  return () => removeEventListener('keydown', key);
}
