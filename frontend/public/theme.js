// Before anything is painted: the theme that was chosen here, if it is not the system's.
{
  const theme = localStorage.getItem('physalis-theme');
  if (theme) document.documentElement.dataset.theme = theme;
}
