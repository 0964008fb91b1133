// What people write, as requests: see physalis.web.notes.
import type { FeatureNotes, FullList, ListRow, Requests, Tally, Vote } from '../lib/notes';
import { ask, notes as writable } from './data';

const get = <T>(path: string) => ask<T>(`/api/notes${path}`);
const remove = (path: string) => ask<unknown>(`/api/notes${path}`, { method: 'DELETE' });
const post = <T>(path: string, body: unknown) =>
  ask<T>(`/api/notes${path}`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });

const vote = (feature: number, target: string, value: 1 | -1) => post<Vote>('/votes', { feature, on: 'label', target, value });

/** Addresses have a length: of more labels than this, one's own votes are not marked. */
const TALLIED = 100;

export const requests: Requests = {
  async said(feature) {
    const [notes, lists] = await Promise.all([
      get<FeatureNotes>(`/features/${feature}`),
      writable?.writes ? get<ListRow[]>('/lists') : [],
    ]);
    const asked = notes.labels.slice(0, TALLIED).map(({ label }) => `target=${label.id}`);
    const votes = writable?.writes && asked.length ? await get<Record<string, Tally>>(`/votes/label?${asked.join('&')}`) : {};
    return { notes, lists, votes };
  },
  label: (feature, text) => post('/labels', { feature, text }),
  unlabel: (id) => remove(`/labels/${id}`),
  vote: (label, value) => vote(label.feature, label.id, value),
  // Tallies do not give the id of one's vote. A new one does, and stands in for it.
  unvote: async (label) => remove(`/votes/${(await vote(label.feature, label.id, 1)).id}`),
  note: (feature, text) => post('/notes', { feature, text }),
  edit: (id, text) => post(`/notes/${id}`, { text }),
  unnote: (id) => remove(`/notes/${id}`),
  lists: () => get('/lists'),
  list: (id) => get<FullList>(`/lists/${id}`),
  make: (name, description, features) => post<FullList>('/lists', { name, description, features }),
  describe: (id, name, description) => post(`/lists/${id}`, { name, description }),
  remove: (id) => remove(`/lists/${id}`),
  enter: (id, feature, as) => post(`/lists/${id}/entries`, { feature, ...as }),
  takeOut: (id, feature) => remove(`/lists/${id}/entries/${feature}`),
};
