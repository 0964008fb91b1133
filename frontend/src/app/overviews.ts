// Pages of a whole atlas that show one record each: every view in views/overviews/, by the path that it says. See physalis.web.atlas.overviews.
import type { Component } from 'svelte';
import type { Map } from '../lib/records/atlas';

export interface Overview {
  path: string;
  title: string;
  default: Component<{ record: never; map?: Map }>;
}

export const overviews = Object.values(import.meta.glob<Overview>('../views/overviews/*.svelte', { eager: true }));
