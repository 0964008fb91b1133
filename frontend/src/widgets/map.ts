import View from '../views/atlas/Map.svelte';
import { afm } from './afm.svelte';

export default afm({ map: View });
