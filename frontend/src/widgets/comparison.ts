import View from '../views/Comparison.svelte';
import { afm } from './afm.svelte';

export default afm({ comparison: View });
