package android.view;

import android.content.Context;

/** Of Android's class, what the sample uses. */
public abstract class ViewGroup extends View {
    public ViewGroup(Context context) {
        super(context);
    }

    public void addView(View child) {}

    public void addView(View child, LayoutParams parameters) {}

    public static class LayoutParams {
        public static final int MATCH_PARENT = -1;
    }
}
