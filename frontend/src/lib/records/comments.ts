// The records of physalis.people.comments.records and physalis.web.people.comments, field by field, and what can be asked of the server.
// tests/web/people/test_comments_page.py compares them.

export interface FeatureAnchor {
  kind: 'feature';
  feature: number;
}
export interface FigureAnchor {
  kind: 'figure';
  figure: string;
}
export interface PassageAnchor {
  kind: 'passage';
  article: string;
  exact: string;
  prefix: string;
  suffix: string;
}

export type Anchor = FeatureAnchor | FigureAnchor | PassageAnchor;

export interface Comment {
  id: string;
  anchor: FeatureAnchor | FigureAnchor | PassageAnchor;
  parent: string | null;
  author: string;
  name: string;
  affiliation: string;
  role: 'owner' | 'guest';
  text: string;
  html: string;
  version: number;
  state: 'waiting' | 'published' | 'withdrawn';
  written: string;
  edited: string;
  changed: string;
}
export interface Thread {
  comment: Comment;
  replies: Comment[];
}
export interface Invitation {
  id: string;
  name: string;
  affiliation: string;
  role: 'owner' | 'guest';
  created: string;
  expires: string;
  accepted: string | null;
  revoked: string | null;
  state: 'open' | 'accepted' | 'expired' | 'revoked';
}
export interface Fault {
  kind: 'comment' | 'invitation';
  id: string;
  problem: string;
}

export interface Me {
  role: 'visitor' | 'guest' | 'owner';
  id: string;
  name: string;
  affiliation: string;
  csrf: string;
}
export interface Sent {
  invitation: Invitation;
  link: string;
}

export interface Commentable {
  longest: number;
}

/** What someone may read: all that is published, their own, and what waits if they are the owner. */
export interface Heard {
  me: Me;
  threads: Thread[];
  mine: Comment[];
  queue: Comment[];
}

/** What only the owner reads. */
export interface Ruled {
  invitations: Invitation[];
  faults: Fault[];
}

/** What the server does with comments. Views are handed these, so that they can be shown without a server. */
export interface Talk {
  /** On a place such as "feature/12", or everywhere; on an article, that is on its passages and its figures. */
  heard: (place?: string) => Promise<Heard>;
  ruled: () => Promise<Ruled>;
  me: () => Promise<Me>;
  accept: (token: string) => Promise<Me>;
  leave: () => Promise<Me>;
  write: (anchor: Anchor, text: string) => Promise<unknown>;
  reply: (to: string, text: string) => Promise<unknown>;
  edit: (id: string, text: string) => Promise<unknown>;
  withdraw: (id: string) => Promise<unknown>;
  publish: (comment: Comment) => Promise<unknown>;
  invite: (name: string, affiliation: string, days: number | undefined) => Promise<Sent>;
  renew: (id: string) => Promise<Sent>;
  revoke: (id: string) => Promise<unknown>;
}

/** Who somebody is, as their comments say it. */
export const called = ({ name, affiliation }: { name: string; affiliation: string }): string =>
  [name, affiliation].filter(Boolean).join(', ');

/** What comments hang on: "feature/12", "figure/TMS-1", "article/intro". */
export function placeOf({ anchor }: Comment): string {
  if (anchor.kind === 'feature') return `feature/${anchor.feature}`;
  return anchor.kind === 'figure' ? `figure/${anchor.figure}` : `article/${anchor.article}`;
}

/** The article that something is said of: "intro" for its passages, and for its figures, which are called intro.NAME. */
export function articleOf({ anchor }: Comment): string | undefined {
  if (anchor.kind === 'passage') return anchor.article;
  return anchor.kind === 'figure' ? /^([^.]+)\./.exec(anchor.figure)?.[1] : undefined;
}

/** What a comment hangs on, where the page around it does not say so. */
export interface Origin {
  words: string;
  /** Where it is; nothing if it is there no more. */
  href?: string;
}

/** All that someone sees of a place or of everywhere: threads with what waits, in the order in which it was written. */
export function woven({ threads, mine, queue }: Heard): Thread[] {
  const waiting = [...new Map([...mine, ...queue].filter((c) => c.state === 'waiting').map((c) => [c.id, c])).values()];
  const inOrder = (a: Comment, b: Comment) => a.written.localeCompare(b.written);
  const whole = threads.map(({ comment, replies }) => ({
    comment,
    replies: [...replies, ...waiting.filter((c) => c.parent === comment.id)].sort(inOrder),
  }));
  const alone = waiting.filter((c) => !threads.some((t) => t.comment.id === c.parent));
  return [...whole, ...alone.map((comment) => ({ comment, replies: [] }))].sort((a, b) => inOrder(a.comment, b.comment));
}
