import View from '../views/atlas/Feature.svelte';
import { afm } from './afm.svelte';

export default afm({ feature: View });
