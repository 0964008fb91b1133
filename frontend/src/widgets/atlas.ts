import Feature from '../views/atlas/Feature.svelte';
import List from '../views/atlas/Features.svelte';
import Map from '../views/atlas/Map.svelte';
import Summary from '../views/atlas/Summary.svelte';
import { afm } from './afm.svelte';

export default afm({ summary: Summary, list: List, feature: Feature, map: Map });
