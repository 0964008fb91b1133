import View from '../views/graph/Graph.svelte';
import { afm } from './afm.svelte';

export default afm({ graph: View });
