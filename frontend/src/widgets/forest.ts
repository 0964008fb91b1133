import View from '../views/comparison/FeatureTrees.svelte';
import { afm } from './afm.svelte';

export default afm({ forest: View });
