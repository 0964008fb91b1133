import View from '../views/Map.svelte';
import { afm } from './afm.svelte';

export default afm({ map: View });
