// What a view asks of the page or notebook it is shown in, through Svelte's context.
import { getContext, setContext } from 'svelte';

export interface Host {
  /** Address for a link to a path such as "/features/12"; undefined where nothing can be opened. */
  href: (path: string) => string | undefined;
  /** Go there. */
  open: (path: string) => void;
}

const KEY = 'physalis';

const nowhere: Host = { href: () => undefined, open: () => undefined };

export const setHost = (host: Host): Host => setContext(KEY, host);

export const useHost = (): Host => getContext<Host | undefined>(KEY) ?? nowhere;
