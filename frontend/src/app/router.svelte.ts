// Which page is shown. Links stay links; this only saves the reload.
import { tick } from 'svelte';
import type { Written } from '../lib/records/articles';
import type { Kin } from '../lib/records/comparison';
import { drawn } from '../lib/page/deferred';
import { fromQuery, toQuery, type Question } from '../lib/records/question';
import type { Feature, FeatureList, FeatureRow, Metric, Summary } from '../lib/records/atlas';
import type { Commentable, Heard, Me, Ruled } from '../lib/records/comments';
import type { FullList, ListRow, Said, Writable } from '../lib/records/notes';
import { fromQuery as ruleQuestion, toQuery as ruleQuery, type ExplainedFeature, type Queued, type RuleList, type RuleOf, type RuleQuestion } from '../lib/records/rules';
import type { Steerable } from '../lib/records/steering';
import type { Tryable } from '../lib/records/trying';
import type ArticleView from '../views/people/Article.svelte';
import { taken, talk } from './comments';
import * as data from './data';
import { overviews, type Overview } from './overviews';
import { requests } from './notes';

export type Page =
  | { view: 'summary'; summary: Summary; striking: FeatureRow[] }
  | { view: 'list'; list: FeatureList; question: Question; metrics: Metric[] }
  | { view: 'feature'; feature: Feature; summary: Summary; said?: Said; kin?: Kin; rule?: RuleOf | Queued | null; explained?: ExplainedFeature }
  | { view: 'rules'; list: RuleList; question: RuleQuestion }
  | { view: 'overview'; shown: Overview; record: never }
  | { view: 'map'; feature?: number; query: string }
  | { view: 'steer'; about: Steerable; query: string }
  | { view: 'try'; about: Tryable; query: string }
  | { view: 'lists'; about: Writable; lists: ListRow[] }
  | { view: 'one list'; about: Writable; full: FullList }
  | { view: 'article'; article: Written; View: typeof ArticleView }
  | { view: 'comments'; about: Commentable; heard: Heard; ruled?: Ruled }
  | { view: 'invitation'; me: Me; token: string }
  | { view: 'lost'; sentence: string; mishap?: boolean };

/** The list that a feature was opened from: next and previous walk along it. */
export interface Trail {
  path: string;
  question: Question;
  total: number;
  ids: number[];
}

/** The page that the address names, from where these pages begin. */
const here = () => location.pathname.slice(data.base.length) + location.search;

class Router {
  page = $state.raw<Page | undefined>();
  path = $state(here());
  waiting = $state(false);
  trail = $state.raw<Trail | undefined>();
  private turn = 0;

  constructor() {
    history.scrollRestoration = 'manual';
    addEventListener('popstate', () => {
      const path = here();
      // Another place in the same article: the browser goes there by itself.
      if (this.page?.view !== 'article' || path !== this.path) void this.show(path, history.state?.scroll ?? 0);
    });
  }

  /** Go to a page. `replace` keeps the history as it is: for what changes while typing. */
  async go(path: string, { replace = false } = {}): Promise<void> {
    if (path.startsWith('/features/random')) path = `/features/${await data.random().catch(() => 0)}`;
    if (replace) this.note(path);
    else {
      history.replaceState({ scroll: scrollY }, '');
      history.pushState({}, '', data.base + path);
    }
    await this.show(path, replace ? undefined : 0);
  }

  /** Have the address say where one is, without going there. */
  note(path: string): void {
    history.replaceState(history.state, '', data.base + path);
  }

  /** From now on along a list that someone made. */
  walk(full: FullList): void {
    const ids = full.entries.map((entry) => entry.feature);
    this.trail = { path: `/lists/${full.list.list}`, question: fromQuery(''), total: ids.length, ids };
  }

  /** Show the page of `path`, then scroll there (undefined: stay). */
  async show(path: string, scroll?: number): Promise<void> {
    const mine = ++this.turn;
    this.path = path;
    const slow = setTimeout(() => mine === this.turn && (this.waiting = true), 150);
    let page: Page;
    try {
      page = await load(path);
    } catch (error) {
      page = { view: 'lost', sentence: error instanceof data.Refused ? error.message : String(error) };
    }
    clearTimeout(slow);
    if (mine !== this.turn) return;
    const moved = page.view !== this.page?.view || page.view === 'feature';
    const first = this.page === undefined;
    this.waiting = false;
    this.page = page;
    if (page.view === 'list') {
      this.trail = { path, question: page.question, total: page.list.total, ids: page.list.rows.map((r) => r.id) };
    }
    if (page.view === 'one list') this.walk(page.full);
    document.title = titleOf(page);
    // Where one was may be further down than what is drawn at first.
    if (scroll) void tick().then(drawn).then(() => mine === this.turn && scrollTo(0, scroll));
    requestAnimationFrame(() => {
      if (scroll === 0) scrollTo(0, 0);
      const searching = document.activeElement?.matches('[data-search]');
      if (moved && !first && !searching) document.querySelector<HTMLElement>('main h1')?.focus({ preventScroll: true });
    });
  }
}

async function load(path: string): Promise<Page> {
  const refusal = data.refusal();
  if (refusal) return { view: 'lost', ...refusal };
  const { pathname, search } = new URL(path, location.origin);
  if (pathname === '/') {
    const [summary, striking] = await Promise.all([data.summary(), data.striking()]);
    return { view: 'summary', summary, striking };
  }
  if (pathname === '/features') {
    const question = fromQuery(search);
    const [list, metrics] = await Promise.all([data.list(toQuery(question)), data.metrics()]);
    return { view: 'list', list, question, metrics };
  }
  const id = /^\/features\/(\d+)$/.exec(pathname)?.[1];
  if (id) {
    // Notes that do not come spoil no page: their panel asks again, and says why.
    const asked = data.notes ? data.said(Number(id)).catch(() => undefined) : undefined;
    const [feature, summary, said, kin, rule, explained] = await Promise.all([
      data.feature(Number(id)), data.summary(), asked, data.family(Number(id)), data.rule(Number(id)), data.explained(Number(id)),
    ]);
    return { view: 'feature', feature, summary, said, kin, rule, explained };
  }
  if (pathname === '/rules') {
    if (data.ruled) {
      const question = ruleQuestion(search);
      return { view: 'rules', question, list: await data.rules(ruleQuery(question)) };
    }
    const how = 'Explain its features, beside the atlas: physalis explain DICTIONARY ACTIVATIONS --out explanations. Then serve it again.';
    return { view: 'lost', sentence: `There are no rules of this atlas's features. ${how}` };
  }
  if (pathname === '/map') {
    const given = new URLSearchParams(search);
    const feature = given.get('feature');
    return { view: 'map', feature: feature ? Number(feature) : undefined, query: given.get('query') ?? '' };
  }
  if (pathname === '/steer') {
    if (data.steerable) return { view: 'steer', about: data.steerable, query: search };
    const how = 'Stop the server and start it with its dictionary: physalis serve ATLAS --dictionary DICTIONARY.';
    return { view: 'lost', sentence: `This atlas is served without its model, so nothing can be steered. ${how}` };
  }
  if (pathname === '/try') {
    if (data.tryable) return { view: 'try', about: data.tryable, query: search };
    const how = 'Stop the server and start it with its dictionary: physalis serve ATLAS --dictionary DICTIONARY.';
    return { view: 'lost', sentence: `This atlas is served without its model, so no text can be tried. ${how}` };
  }
  const list = /^\/lists(?:\/([^/]+))?$/.exec(pathname);
  if (list && data.notes) {
    if (list[1]) return { view: 'one list', about: data.notes, full: await requests.list(list[1]) };
    return { view: 'lists', about: data.notes, lists: await requests.lists() };
  }
  const slug = /^\/articles\/([^/]+)$/.exec(pathname)?.[1];
  if (slug) {
    // With all that figures can show: other pages need not wait for that.
    const [article, { default: View }] = await Promise.all([data.article(slug), import('../views/people/Article.svelte')]);
    return { view: 'article', article, View };
  }
  if (pathname === '/comments' && data.comments) {
    const heard = await talk.heard();
    return { view: 'comments', about: data.comments, heard, ruled: heard.me.role === 'owner' ? await talk.ruled() : undefined };
  }
  if (pathname === '/invitation' && data.comments) {
    const token = taken();
    return { view: 'invitation', me: await talk.me(), token };
  }
  const shown = overviews.find((each) => each.path === pathname);
  if (shown) return { view: 'overview', shown, record: await data.overview(pathname) };
  return { view: 'lost', sentence: `There is no page ${pathname} here.` };
}

function titleOf(page: Page): string {
  if (page.view === 'summary') return `${page.summary.name} – physalis`;
  if (page.view === 'list') return `${page.question.query ? `${page.question.query} – ` : ''}Features – physalis`;
  if (page.view === 'feature') return `${page.feature.headline} (${page.feature.id}) – physalis`;
  if (page.view === 'rules') return 'Rules – physalis';
  if (page.view === 'overview') return `${page.shown.title} – physalis`;
  if (page.view === 'steer') return 'Steer – physalis';
  if (page.view === 'lists') return 'Lists – physalis';
  if (page.view === 'one list') return `${page.full.list.name} – Lists – physalis`;
  if (page.view === 'article') return `${page.article.title} – physalis`;
  if (page.view === 'comments') return 'Comments – physalis';
  if (page.view === 'invitation') return 'Invitation – physalis';
  if (page.view === 'try') return 'Try it – physalis';
  if (page.view === 'lost' && page.mishap) return 'Something went wrong – physalis';
  return page.view === 'map' ? 'Map – physalis' : 'Not available – physalis';
}

export const router = new Router();
