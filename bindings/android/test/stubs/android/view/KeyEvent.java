package android.view;

public class KeyEvent {
    public static final int ACTION_DOWN = 0;

    public final int getAction() {
        return ACTION_DOWN;
    }
}
