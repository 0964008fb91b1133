// The records of physalis.people.notes.records, field by field, who writes here, and what can be asked of the server.
// tests/web/people/test_notes_page.py compares them.

export interface Label {
  id: string;
  author: string;
  time: string;
  replaces: string[];
  kind: 'label';
  feature: number;
  text: string;
  method: string;
  model: string;
  scores: Record<string, number>;
}
export interface Note {
  id: string;
  author: string;
  time: string;
  replaces: string[];
  kind: 'note';
  feature: number;
  text: string;
}
export interface Listing {
  id: string;
  author: string;
  time: string;
  replaces: string[];
  kind: 'list';
  list: string;
  name: string;
  description: string;
}
export interface Entry {
  id: string;
  author: string;
  time: string;
  replaces: string[];
  kind: 'entry';
  list: string;
  feature: number;
  place: number;
  label: string;
  note: string;
}
export interface Vote {
  id: string;
  author: string;
  time: string;
  replaces: string[];
  kind: 'vote';
  feature: number;
  on: 'label' | 'explanation';
  target: string;
  value: 1 | -1;
}

export interface Labelled {
  label: Label;
  up: number;
  down: number;
}
export interface Tally {
  up: number;
  down: number;
  by: Record<string, number>;
}
export interface FullList {
  list: Listing;
  entries: Entry[];
}
export interface ListRow {
  list: Listing;
  n_entries: number;
}
export interface Listed {
  list: Listing;
  entry: Entry;
}
export interface FeatureNotes {
  feature: number;
  labels: Labelled[];
  notes: Note[];
  lists: Listed[];
  /** How many there are, of which `labels` may be the first; `n_notes` and `n_lists` likewise. */
  n_labels: number;
  n_notes: number;
  n_lists: number;
}

export interface Writable {
  writes: boolean;
  author: string;
}

/** All that a feature's page shows of people's words. */
export interface Said {
  notes: FeatureNotes;
  /** The votes on its labels, by the label's id. */
  votes: Record<string, Tally>;
  /** The lists there are, to put it into. */
  lists: ListRow[];
}

/** What the server does with notes. Views are handed these, so that they can be shown without a server. */
export interface Requests {
  said: (feature: number) => Promise<Said>;
  label: (feature: number, text: string) => Promise<unknown>;
  unlabel: (id: string) => Promise<unknown>;
  vote: (label: Label, value: 1 | -1) => Promise<unknown>;
  unvote: (label: Label) => Promise<unknown>;
  note: (feature: number, text: string) => Promise<unknown>;
  edit: (id: string, text: string) => Promise<unknown>;
  unnote: (id: string) => Promise<unknown>;
  lists: () => Promise<ListRow[]>;
  list: (id: string) => Promise<FullList>;
  make: (name: string, description: string, features: number[]) => Promise<FullList>;
  describe: (id: string, name: string, description: string) => Promise<unknown>;
  remove: (id: string) => Promise<unknown>;
  enter: (id: string, feature: number, as?: { label?: string; note?: string; at?: number }) => Promise<unknown>;
  takeOut: (id: string, feature: number) => Promise<unknown>;
}

/** "23 November 2026". Nothing for 1970, which stands for no time at all. */
export function day(time: string): string {
  const at = new Date(time);
  return at.getUTCFullYear() <= 1970 ? '' : at.toLocaleDateString('en-GB', { day: 'numeric', month: 'long', year: 'numeric' });
}

/** Who wrote something, and when. */
export const signed = ({ author, time }: { author: string; time: string }): string => [author, day(time)].filter(Boolean).join(', ');

/** What a refusal says. */
export const sentence = (error: unknown): string => (error instanceof Error ? error.message : String(error));
