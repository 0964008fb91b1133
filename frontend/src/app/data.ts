// Records from the server: those that came with the page first, then by request.
import type { Feature, FeatureList, FeatureRow, Map as Places, Metric, Summary } from '../lib/records/atlas';
import { written, type Told, type Written } from '../lib/records/articles';
import type { Commentable } from '../lib/records/comments';
import type { Kin } from '../lib/records/comparison';
import type { Said, Writable } from '../lib/records/notes';
import type { ExplainedFeature, Queued, RuleHolds, RuleList, RuleOf } from '../lib/records/rules';
import type { Steerable } from '../lib/records/steering';
import type { Tryable } from '../lib/records/trying';

/** What the server puts into the page so that it shows without a second request; see physalis.web.atlas.app. */
interface Inlined {
  base?: string;
  error?: string;
  mishap?: boolean;
  summary?: Summary;
  striking?: FeatureRow[];
  list?: FeatureList;
  metrics?: Metric[];
  feature?: Feature;
  map?: Places;
  overview?: never;
  steering?: Steerable;
  trying?: Tryable;
  notes?: Writable;
  comments?: Commentable;
  articles?: Told[];
  article?: Written;
  families?: boolean;
  family?: Kin;
  explains?: boolean;
  /** Whether there are rules. */
  ruled?: boolean;
  rule?: RuleOf | Queued | null;
  rules?: RuleList;
  explained?: ExplainedFeature;
  said?: Said;
}

const element = document.getElementById('page');
const inlined: Inlined = element ? JSON.parse(element.textContent || '{}') : {};
if (inlined.article) inlined.article.html = written();

/** Where these pages begin on their server, such as "/a/commas"; nothing for "/". Paths of pages and records are told without it. */
export const base = inlined.base ?? '';

/** An answer that is a sentence. */
export class Refused extends Error {}

/** A record, or what became of a request. */
export async function ask<T>(path: string, init: RequestInit = {}): Promise<T> {
  let response: Response;
  try {
    response = await fetch(base + path, { ...init, headers: { accept: 'application/json', ...init.headers } });
  } catch {
    throw new Refused('The server does not answer. Was it stopped? Start it again with “physalis serve”, then reload.');
  }
  const body = await response.json().catch(() => null);
  if (!response.ok) throw new Refused(body?.detail ?? `The server answered ${response.status}.`);
  return body as T;
}

/** The inlined record the first time, because it belongs to the page that was asked for; later a request. */
function once<K extends keyof Inlined>(key: K, path: string): Promise<NonNullable<Inlined[K]>> {
  const value = inlined[key];
  delete inlined[key];
  return value === undefined ? ask(path) : Promise.resolve(value);
}

/** Asked for once and kept: it is the same on every page. */
function kept<K extends keyof Inlined>(key: K, path: string): () => Promise<NonNullable<Inlined[K]>> {
  let answer: Promise<NonNullable<Inlined[K]>> | undefined;
  return () => (answer ??= once(key, path).catch((error) => ((answer = undefined), Promise.reject(error))));
}

/** The sentence that came instead of a page, once; and whether the server could not help it. */
export function refusal(): { sentence: string; mishap?: boolean } | undefined {
  const { error, mishap } = inlined;
  delete inlined.error;
  return error === undefined ? undefined : { sentence: error, mishap };
}
export const summary = kept('summary', '/api/summary');
export const striking = kept('striking', '/api/striking');
export const metrics = kept('metrics', '/api/metrics');
export const map = kept('map', '/api/map');
/** The record of a page in views/overviews. */
export const overview = (path: string) => once('overview', `/api${path}`);
export const feature = (id: number) => once('feature', `/api/features/${id}`);
export const list = (query: string) => once('list', `/api/features${query}`);
/** A feature's family; nothing where the atlas is served without a tree. */
export const family = (id: number) => (inlined.families ? once('family', `/api/family/${id}`) : undefined);
/** Whether anything may be said of features beside their atlas. */
const explains = inlined.explains ?? false;
/** Whether features are explained by rules. */
export const ruled = inlined.ruled ?? false;
/** A feature's rule, or its place in the queue; nothing where it was not explained. */
export const rule = (id: number): Promise<RuleOf | Queued | null> | undefined => (ruled ? once('rule', `/api/rules/${id}`) : undefined);
/** Words of a feature, and how good explanations are; nothing from a server that has none. */
export const explained = (id: number): Promise<ExplainedFeature | undefined> =>
  explains ? once('explained', `/api/explained/${id}`).catch(() => undefined) : Promise.resolve(undefined);
/** Where the parts of its rule hold in its examples. */
export const holds = (id: number) => ask<RuleHolds>(`/api/rules/${id}/holds`);
export const rules = (query: string) => once('rules', `/api/rules${query}`);
/** What people say of a feature, when its page is opened. */
export const said = (id: number) => once('said', `/api/notes/features/${id}/said`);
export const random = () => ask<number>('/api/random');

/** What can be steered; nothing where the atlas is served without its model. */
export const steerable = inlined.steering;
/** How texts can be tried; nothing there either. */
export const tryable = inlined.trying;
/** Who writes notes; nothing where the atlas is served without any. */
export const notes = inlined.notes;
/** What comments may be; nothing where nobody was invited to write any. */
export const comments = inlined.comments;

/** What was written about this atlas. */
export const articles = inlined.articles ?? [];
export const article = (slug: string) => once('article', `/api/articles/${slug}`);

const names = new Map<number, Promise<string>>();
/** What a feature is called. */
export function headline(id: number): Promise<string> {
  if (!names.has(id)) names.set(id, ask<Feature>(`/api/features/${id}`).then((f) => f.headline, () => 'there is no such feature'));
  return names.get(id)!;
}
