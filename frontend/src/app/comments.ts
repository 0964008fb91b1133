// Comments by invitation, as requests: see physalis.web.people.comments.
import { articleOf, placeOf, type Comment, type Fault, type Invitation, type Me, type Sent, type Talk, type Thread } from '../lib/records/comments';
import { ask } from './data';

const get = <T>(path: string) => ask<T>(`/api/comments${path}`);

/** Who reads, asked for once: pages are turned more often than people change. */
let known: Promise<Me> | undefined;
const me = () => (known ??= get<Me>('/me').catch((error) => ((known = undefined), Promise.reject(error))));

async function send<T>(method: string, path: string, body?: unknown): Promise<T> {
  const headers = { 'content-type': 'application/json', 'x-csrf-token': (await me()).csrf };
  return ask<T>(`/api/comments${path}`, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
}
const post = <T>(path: string, body?: unknown) => send<T>('POST', path, body);

export const talk: Talk = {
  async heard(place) {
    // Asked anew: somebody may have signed in or out in another window.
    known = undefined;
    const here = (comment: Comment) => place === undefined || placeOf(comment) === place || `article/${articleOf(comment)}` === place;
    const [who, threads] = await Promise.all([me(), get<Thread[]>(place === undefined ? '' : `?on=${place}`)]);
    const [mine, queue] = await Promise.all([
      who.role === 'visitor' ? [] : get<Comment[]>('/mine'),
      who.role === 'owner' ? get<Comment[]>('/queue') : [],
    ]);
    return { me: who, threads, mine: mine.filter(here), queue: queue.filter(here) };
  },
  async ruled() {
    const [invitations, faults] = await Promise.all([get<Invitation[]>('/invitations'), get<Fault[]>('/faults')]);
    return { invitations, faults };
  },
  me: () => ((known = undefined), me()),
  async accept(token) {
    await ask<Me>('/api/comments/session', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ token }),
    });
    // What the browser kept counts: it keeps no session of a server that is neither on this machine nor behind TLS.
    known = undefined;
    const who = await me();
    if (who.role !== 'visitor') return who;
    throw new Error('The browser did not keep the session: sessions of other machines need https. Ask who invited you for an address that begins with it.');
  },
  leave: async () => {
    const left = await send<Me>('DELETE', '/session');
    known = undefined;
    return left;
  },
  write: (anchor, text) => post('', { anchor, text }),
  reply: (to, text) => post(`/${to}/replies`, { text }),
  edit: (id, text) => send('PUT', `/${id}`, { text }),
  withdraw: (id) => post(`/${id}/withdraw`),
  publish: ({ id, version }) => post(`/${id}/publish`, { version }),
  invite: (name, affiliation, days) => post<Sent>('/invitations', { name, affiliation, days }),
  renew: (id) => post<Sent>(`/invitations/${id}/renew`, {}),
  revoke: (id) => post(`/invitations/${id}/revoke`),
};

/** The token of an invitation's link, taken out of the address at once: it opens a session to whoever reads it there. */
export function taken(): string {
  const token = location.hash.slice(1);
  if (token) history.replaceState(history.state, '', location.pathname + location.search);
  return token;
}
