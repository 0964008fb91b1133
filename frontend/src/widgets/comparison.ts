import View from '../views/comparison/Comparison.svelte';
import { afm } from './afm.svelte';

export default afm({ comparison: View });
