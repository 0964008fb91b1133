import Feature from '../views/Feature.svelte';
import List from '../views/List.svelte';
import Map from '../views/Map.svelte';
import Summary from '../views/Summary.svelte';
import { afm } from './afm.svelte';

export default afm({ summary: Summary, list: List, feature: Feature, map: Map });
