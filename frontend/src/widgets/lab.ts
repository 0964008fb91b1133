import View from '../views/Experiment.svelte';
import { afm } from './afm.svelte';

export default afm({ experiment: View });
