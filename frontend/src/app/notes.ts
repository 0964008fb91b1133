// What people write, as requests: see physalis.web.people.notes.
import type { FullList, Requests, Vote } from '../lib/records/notes';
import { ask } from './data';

const get = <T>(path: string) => ask<T>(`/api/notes${path}`);
const remove = (path: string) => ask<unknown>(`/api/notes${path}`, { method: 'DELETE' });
const post = <T>(path: string, body: unknown) =>
  ask<T>(`/api/notes${path}`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });

const vote = (feature: number, target: string, value: 1 | -1) => post<Vote>('/votes', { feature, on: 'label', target, value });

export const requests: Requests = {
  said: (feature) => get(`/features/${feature}/said`),
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
