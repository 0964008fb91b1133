import View from '../views/Feature.svelte';
import { afm } from './afm.svelte';

export default afm({ feature: View });
